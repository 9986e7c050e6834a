"""What the command line does beside serving: decompose, harvest, import, export, featured findings."""
