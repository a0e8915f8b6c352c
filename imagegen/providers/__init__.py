"""One file per provider, all behind `base.Provider`."""
