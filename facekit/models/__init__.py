"""Networks, their weights, losses, training, and a look inside."""
