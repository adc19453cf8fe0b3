//! Foreign text that tries to act on terminals, Markdown renderers and readers.
