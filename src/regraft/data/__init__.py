"""Images on disk to labelled samples to batches. Knows no network."""
