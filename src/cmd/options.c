// SPDX-License-Identifier: MIT
#include "cmd/cmd.h"
