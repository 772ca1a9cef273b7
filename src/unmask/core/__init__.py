"""The nouns everybody shares: types, configuration, errors, seeds, atomic files."""
