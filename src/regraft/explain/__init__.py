"""What the layers learned: pictures, probes by depth, and the report."""
