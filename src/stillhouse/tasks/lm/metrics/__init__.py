"""How well a language is modelled."""
