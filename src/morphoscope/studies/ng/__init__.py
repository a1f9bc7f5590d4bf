"""`ng`: the Galaxy Challenge, 37 vote fractions by regression."""
