"""From a trained model to masks on people's videos."""
