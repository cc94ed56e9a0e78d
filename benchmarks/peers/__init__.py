"""The same job by other tools: scripts that run in environments of their own and print one JSON object."""
