// Package readme holds the README to what it says: its program and its pieces compile, the program does what is said of it, and its commands and files exist. It is all tests.
package readme
