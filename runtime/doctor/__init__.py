"""What `saliency-doctor` looks at: each thing that a run may need, and what to do where it is missing."""
