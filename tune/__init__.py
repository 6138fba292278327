"""Hyperparameter studies: Ray Tune runs the trials, Optuna proposes them, MLflow keeps what they measured."""
