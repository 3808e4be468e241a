"""Clause networks on images by flags of their own: `stillhouse vision`, its flags, its runs, its files."""
