"""Features of frozen encoders: extracted once, and a config turned into its twin that trains on them."""
