"""From scores to decisions: thresholds and calibration by the labels that a setting really has."""
