"""Parts of the loss study: what is trained, how it is measured, and the page of it."""
