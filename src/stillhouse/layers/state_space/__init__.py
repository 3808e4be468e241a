"""Complex state-space layers: filters with a step form, and maps that commute with a global phase."""
