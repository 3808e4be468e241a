"""What each signal can be told: frozen configurations without torch; `build` makes the part that owns tensors."""
