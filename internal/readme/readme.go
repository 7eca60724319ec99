// Package readme holds the README to what it says: its program compiles, and its commands and files exist. It is all tests.
package readme
