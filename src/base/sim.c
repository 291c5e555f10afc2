// SPDX-License-Identifier: MIT
// Where a simulation hooks in; see sim.h. Empty in other builds.
#include <tare/base.h>

#ifdef TARE_SIM
void (*tare_sim_hook)(bool must);
void (*tare_sim_settle)(void);
unsigned tare_sim_thread;
unsigned tare_sim_faults;
#endif
