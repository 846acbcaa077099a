"""Evidence: every record that matters becomes a leaf of a Merkle log whose signed checkpoints an outsider can check."""
