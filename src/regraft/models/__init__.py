"""Networks and what becomes of them. Knows no data set."""
