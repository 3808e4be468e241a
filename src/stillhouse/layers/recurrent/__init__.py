"""Recurrent token mixers in two forms each, a parallel one to train and a stepwise one to generate."""
