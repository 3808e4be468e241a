"""Networks that vote with fuzzy logic clauses (Tsetlin machines)."""
