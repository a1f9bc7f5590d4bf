"""What a run is on disk, without training it."""
