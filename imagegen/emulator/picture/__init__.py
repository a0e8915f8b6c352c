"""The emulator's hand: pictures drawn from the words of a prompt, always the same for the same words, seed and size."""
