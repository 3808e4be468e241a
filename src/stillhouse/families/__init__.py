"""The families of students; each is one package, and none imports another."""
