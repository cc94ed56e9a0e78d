"""Networks meet photos: features, heads fitted on them, honest estimates."""
