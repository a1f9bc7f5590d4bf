"""How good a run is, with n and spread."""
