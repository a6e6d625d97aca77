"""What is proven, a file for each type of device."""
