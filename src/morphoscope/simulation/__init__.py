"""Simulated galaxies: what they are, how they shine, what the sky and the survey make of them.

::

    photometry.py   magnitudes, colours and sizes of the classes
    single.py       smooth galaxies, spirals, edge-on discs: their parameters from distributions
    interacting.py  disturbed and merging galaxies
    populations.py  class and generator → Galaxy
    galaxies.py     Galaxy and its parts, as data
    light.py        frame, Sérsic and exponential light, PSF
    structure.py    spiral arms, bars, rings, knots, dust, tails, shells
    scene.py        Galaxy → light in g, r, z
    sky.py          neighbours, stars, noise, stretch, JPEG
    survey.py       the numbers of one survey
    votes.py        Galaxy → answers of simulated volunteers
    row.py          one row of a store
    nongalaxies.py  stars, artefacts and empty sky: what no galaxy catalogue should call a galaxy
    workers.py      processes that render chunks of rows
"""
