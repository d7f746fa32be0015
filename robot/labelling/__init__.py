"""The page on which a person looks at episodes and says what happened."""
