"""A web page that classifies the clips of its visitors."""
