"""What few numbers keep of many."""
