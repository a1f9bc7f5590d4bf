"""Linear probes: a network that keeps its features and gets a new, linear head, in seconds and without torch.

encoder.py   the network whose features are used, from a run or by name
fit.py       the head, its penalty chosen by cross-validation
run.py       from a recipe and a store to a run like any other
"""
