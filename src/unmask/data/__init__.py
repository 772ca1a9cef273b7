"""Intake, faces, manifests, forgeries, degradations, audits and loading."""
