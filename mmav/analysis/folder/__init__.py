"""From a folder of clips to a trained model and a report, in one command."""
