//! The ECR adapter: tags resolved to digests, and whether a digest is still there.
