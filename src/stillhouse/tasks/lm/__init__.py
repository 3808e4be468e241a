"""Language models: a teacher of transformers, a recurrent student with ternary spikes, and whether the one helped the other."""
