"""Simulated galaxies: their parameters, their surface-brightness profiles, the sky and the survey's camera.

::

    sampling.py         class and seed → Galaxy; magnitudes, colours and sizes of the classes
    isolated.py         smooth galaxies, spirals, edge-on discs: parameters drawn from distributions
    interacting.py      disturbed and merging galaxies
    galaxy.py           Galaxy and its components, as data
    profiles.py         pixel frame, Sérsic and exponential profiles, PSF
    substructure.py     spiral arms, bars, rings, knots, dust, tails, shells
    rendering.py        Galaxy → surface brightness in g, r, z
    observation.py      neighbours, stars, seeing, noise, JPEG
    survey.py           the parameters of each survey, and its stretch
    component_masks.py  which pixels belong to which component
    votes.py            Galaxy → votes of simulated volunteers
    rows.py             one row of a store
    nongalaxies.py      stars, artefacts and empty sky, to test for out-of-distribution samples
    workers.py          processes that render row ranges
"""
