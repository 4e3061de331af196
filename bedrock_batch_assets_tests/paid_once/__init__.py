"""What a table that changes costs, through the whole platform, by the stand-in's ledger."""
