// ReplAdmin
