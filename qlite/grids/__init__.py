"""What codes can stand for, and how scales and zero points are chosen."""
