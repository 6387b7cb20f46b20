"""What trained models look at: Grad-CAM maps of clips as pages, videos and scores."""
