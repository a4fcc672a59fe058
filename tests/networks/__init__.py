"""Networks as plain descriptions, of which each runtime's own form is made: the same network for all of them."""
