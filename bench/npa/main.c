// SPDX-License-Identifier: MIT
// Tare's own rows: what its abstractions cost, and what they stand beside. `tare npa` runs this program.
//
// The rows stand in the other files of this folder, a group each. Each is reached through its constructor alone.
#include <tare/npa.h>

int main(int argc, char **argv)
{
	return tare_npa_main(argc, argv);
}
