"""What can be known of a set of photos before, and after, a classifier learns from them: findings, never deletions."""
