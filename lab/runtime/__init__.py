"""What acts on a running lab: bring it up, change it, show it, load it."""
