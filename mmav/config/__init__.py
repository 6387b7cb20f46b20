"""Everything about configs: reading, checking against signatures, editing."""
