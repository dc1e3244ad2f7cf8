// MetaDisk
