"""The doctor proves that ledger, states and object store agree: `examine`, and repairs what is safe to repair."""
