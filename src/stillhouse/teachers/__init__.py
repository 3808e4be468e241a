"""Teachers: pretrained networks, frozen, checked before anything is learned from them. The configuration needs no torch."""
